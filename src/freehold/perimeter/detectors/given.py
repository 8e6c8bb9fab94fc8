"""Given names that are common in several countries: a hint for the classifier, not a list that decides."""

GIVEN = frozenset(
    """
    aaron abdul abdullah abigail adam adele adrian agnes ahmad ahmed aisha alan albert alejandro alessandra alessandro alex alexander alexandra alexis alfred ali
    alice alicia alina alison allison amanda amelia amina amir amy ana anastasia andrea andreas andrei andrew andré angela angelika anita anja ann anna anne annette
    annie anthony antoine anton antonia antonio antónio april arjun arthur arturo ashley astrid audrey axel ayesha barbara beata beatrice beatriz ben benedikt benjamin
    bernard bernd bernhard beth betty beverly bianca bill birgit björn bob boris brandon brenda brian bridget brigitte bruce bruno bryan camila camille carina carl carla
    carlos carmen carol carolina caroline caroline catherine cathy cecilia celine charles charlotte chen cheryl chiara chloe chris christa christian christiane
    christina christine christoph christopher cindy claire clara claudia claus clement colin connor craig cristina cynthia dagmar daniel daniela danielle dariusz david
    deborah denise dennis derek diana diane diego dieter dimitri dirk dmitri dominic dominik donald donna doris dorothy douglas dylan edgar eduardo edward eileen elaine
    eleanor elena elias elisa elisabeth elizabeth ella ellen emil emilia emily emma enrique eric erica erik erika ernesto ernst esther ethan eugene eva evelyn fabian
    fatima federico felicia felipe felix fernanda fernando fiona florence florian frances francesca francesco francis francisco frank franz fred frederick friedrich
    gabriel gabriela gary george georg georges gerald gerhard gina giovanni giulia giuseppe gloria gonzalo grace greg gregor gregory greta guido guillermo gunther gustavo
    guy hannah hannes hans harald harold harry hassan heather hector heidi heike heinrich helen helena helga helmut henri henrik henry herbert hiroshi holger horst
    howard hugo hussein ian ibrahim ida ignacio igor ines inga ingrid irene iris isabel isabella ismail ivan jack jackson jacob jacqueline jacques jake jakob james jamie
    jan jana jane janet janice jason javier jean jeff jeffrey jennifer jens jeremy jerry jesse jessica jesus jill jim joan joana joanna joe joel johann johanna johannes
    john jonas jonathan jordan jorge josef joseph joshua josé joyce juan judith judy julia julian juliana julie jürgen justin kai karen karin karl katarina kate
    katharina katherine kathleen kathrin kathy katie katja keith kelly ken kenneth kerstin kevin khalid kim klaus kristen kristin kumar kurt kyle lars laura lauren laurent
    lea leah lena leo leon leonard leonardo leonie leticia li liam lilly linda lisa logan lorena lorenzo louis louise luca lucas lucia luis luisa lukas luke lydia lynn
    madison magdalena malik manfred manuel marc marcel marco marcos marcus margaret margarita maria mariam marianne marie marina mario marion mark markus marta martha
    martin martina mary mateo mathias matteo matthew matthias maurice max maximilian maya megan mehmet melanie melissa mia michael michelle miguel mikhail mila milan
    mohamed mohammad mohammed monica monika mustafa nadia nadine nancy naomi natalia natalie nathan nicholas nick nicola nicolas nicole nicole nikolai nina noah nora norbert
    norman oksana olaf oleg olga oliver olivia omar oscar oskar otto pablo pamela paolo pascal patricia patrick paul paula paulo pavel pedro peggy peter petra philip
    philipp pierre pietro priya rachel rafael rahul rainer raj ralf ralph ramon raquel raul raymond rebecca regina renate renee ricardo richard rita robert roberto robin
    roger roland rolf roman ronald rosa rosemary roxana roy ruben rudolf russell ruth ryan sabine sabrina sally samantha samir samuel sandra santiago sara sarah scott
    sean sebastian sergei sergio sharon sheila shirley silke silvia simon simone sofia sonia sonja sophia sophie stefan stefanie stella stephanie stephen steve steven
    stuart susan susana susanne svetlana sven sylvia tamara tania tanja tara tatiana ted teresa terry theodor theresa thomas thorsten tim timothy tina tobias todd tom
    tomas tony tracy tyler ulrich ulrike ursula uwe valentina valeria vanessa vera veronica veronika victor victoria vincent viola virginia vladimir walter wanda wayne
    wei wendy werner wilhelm william wolfgang xavier yan yasmin yolanda yusuf yuki yvonne zachary zoe
    """.encode("latin-1").split()
)
